//! The replica under test: over the memory engine, and over engines that fail.
