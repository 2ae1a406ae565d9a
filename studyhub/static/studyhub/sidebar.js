/* Before the page is drawn: whether its sidebar is open, as the admin remembers it. So nothing moves once it is. */
"use strict";

document.documentElement.dataset.sidebar =
  localStorage.getItem("django.admin.navSidebarIsOpen") === "false" ? "closed" : "open";
