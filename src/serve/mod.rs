//! The service: the same engine for those who never type a verb.
//!
//! | module | what is inside |
//! |---|---|
//! | `keeper` | runs that go on without anybody waiting for them: driven, looked at when somebody voted, left resumable |
//! | `mcp` | capabilities as tools of an agent, over the Model Context Protocol |
//!
//! Nothing here decides: who may do what is asked of the policy by the engine, as for every other caller.

mod keeper;
pub mod mcp;

pub use keeper::{Keeper, Kept};
