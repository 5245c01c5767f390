//! A declarative reconciler for Linux network namespaces.
