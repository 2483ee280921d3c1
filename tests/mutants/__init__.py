"""How strong the judge's tests are: it is broken in one small place at a time, and one has to fail."""
