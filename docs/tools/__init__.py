"""How the pages under docs/ become a site, and what is asked of their words."""
