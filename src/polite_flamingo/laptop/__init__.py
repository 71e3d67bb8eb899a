"""Small models for photographs: judges that are shipped with the package, a connector and a rewriter in the making."""
