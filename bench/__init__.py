"""How fast a step, a sweep and a report are, beside other ways to get them (`make bench`, `make profile`)."""
