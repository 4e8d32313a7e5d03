"""Load at set rates whatever the answers, measured from when each request was due."""
