"""Dead letters for people: find, count, show, export, and send their events again."""
