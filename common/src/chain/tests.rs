//! The chain as a whole: growing, forking, refusing, and its files under crashes and damage.

mod chain;
