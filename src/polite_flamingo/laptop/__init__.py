"""Small real models for photographs: trained once on two cores' budget, shipped with the package."""
