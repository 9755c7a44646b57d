//! Tests of the version-1 codec.
