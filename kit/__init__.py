"""What hub and viewer both stand on. A room comes here when two of publish, memocards and viewer need it."""
