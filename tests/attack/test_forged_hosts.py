"""A Host header that is not the hub's: refused, in one line of the log, which anybody could fill otherwise."""

import httpx

from tests.process.processes import Installation


def test_a_forged_host_is_refused_in_one_line_of_the_log(hub_here: Installation) -> None:
    hub = hub_here.hub()
    for path in ("/login/", "/admin/", "/api/topics"):
        before = len(hub.output.splitlines())
        answer = httpx.get(f"{hub_here.url}{path}", headers={"Host": "evil.example"})
        assert answer.status_code == httpx.codes.BAD_REQUEST
        lines = hub.output.splitlines()[before:]
        assert len(lines) == 1, lines
        assert "Invalid HTTP_HOST header: 'evil.example'." in lines[0]
