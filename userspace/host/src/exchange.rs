//! What is asked of the kernel's connection tracking, and what it answers: one reader of dumps, one writer of batches.
//!
//! ```text
//!  request --send--> kernel --pieces, the next one made as the last one is read--> Dump, until the kernel says: over
//!  write, write, ..., last one with ACK --send--> kernel --errors, answers, ACK--> Writes, all of it inside of send
//! ```

pub mod dump;
pub mod writes;
