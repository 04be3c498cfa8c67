"""An isolate at work: it reads messages, runs them and answers; nothing here knows how its process was made."""
