"""One fleet, one sequence of arrivals, one proxy after another: whose routing answers most within its target."""
