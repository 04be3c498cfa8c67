"""Parts of the refs of isolates: what they tell of an actor, and refs that allow less."""
