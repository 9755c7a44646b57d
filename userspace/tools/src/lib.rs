//! people

pub mod conf;
