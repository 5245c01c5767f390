//! What somebody changes by hand is seen, and mended.
