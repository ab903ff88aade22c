"""One model teaches another: what both answer to the same items, how it is kept, which parts of a student learn."""
