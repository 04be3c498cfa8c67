"""What piactors writes for people: nothing that isolated code says in it can forge a line or reach a terminal."""
