//! Tests of the envelope, its limits and its codec.
