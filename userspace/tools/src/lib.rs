//! people

pub mod conf;
pub mod print;
