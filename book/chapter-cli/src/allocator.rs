//! Where the memory of every chapter's program, test and benchmark comes from.
//!
//! A system's own allocator hands a large block back when it is freed, and asks for it again
//! in the next pass: glibc does so with every block of more than 32 MiB. The system then
//! clears the new block page by page, which can take longer than what is to be measured.
//! This allocator keeps what is freed. It finds and joins free blocks in constant time by
//! "two-level segregated fit" (Masmano et al. 2004, *TLSF: a New Dynamic Memory Allocator
//! for Real-Time Systems*).

#[global_allocator]
static KEEPS_WHAT_IS_FREED: rlsf::GlobalTlsf = rlsf::GlobalTlsf::new();
