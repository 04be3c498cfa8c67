"""What performs the decisions of a supervisor: its engine, and one runner for each kind of child."""
