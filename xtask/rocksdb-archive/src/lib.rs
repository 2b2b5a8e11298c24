//! Nothing: this crate exists for the C++ archive that its dependency builds.
