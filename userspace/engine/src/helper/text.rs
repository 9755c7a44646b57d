//! Reading text in payloads.
