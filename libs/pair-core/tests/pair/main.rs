//! The pair against DRBD's rules, a lossy network and crashes: exhaustive within stated bounds.
//!
//! `cargo test --release -p pair-core --test pair -- --nocapture`
mod act;
mod calm;
mod diagram;
mod drbd;
mod flight;
mod happen;
mod kernel;
mod laws;
mod model;
mod moves;
mod names;
mod picture;
mod random;
mod scenarios;
mod table;
mod variants;
mod world;
