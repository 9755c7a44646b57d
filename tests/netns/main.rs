//! Tests against the running kernel: root, network namespaces, no other machine needed.

mod tap;
