//! The sandbox: runs one call of a component, and is the proof of what that call did.
//!
//! It promises three things.
//!
//! 1. **Nothing gets out that was not let out.** A component sees the directories of its grant and nothing else of the
//!    world. Every call that can change something passes one gate ([`Watcher`] is how the gate asks the engine).
//! 2. **An effect is let out only in order.** For each effect the gate decides: would the system refuse it anyway (then it
//!    is none)? Is it inside the grant? May this capability change anything, and is its undo record saved? Does another
//!    step of the run claim the target? What is the target's state now? Is the intent durable? Was the call interrupted
//!    meanwhile? Only then is it carried out, and only then does it count.
//! 3. **When [`Sandbox::call`] resolves, the call is over**: the guest has stopped, its store is gone, and no effect of it
//!    can still arrive. All effects are carried out on the thread that runs the guest; nothing is handed to another one.
//!
//! A guest that loops, sleeps, allocates, recurses, floods or exits ends in a limit with a name, and the host goes on.
//!
//! | file | what is inside |
//! |---|---|
//! | `engine` | the one wasmtime configuration, the epoch ticker, the linker |
//! | `component`, `world`, `describe`, `schema`, `cache`, `private` | bytes become a checked [`Component`] |
//! | `sections` | what a component says of its origin |
//! | `grant` | the directories of a grant are opened |
//! | `call`, `explain` | one call from start to report, and why it failed |
//! | `attempt`, `evidence` | the gate's decisions, and what it saw |
//! | `fs`, `fs_effects`, `names`, `open`, `stream` | the filesystem gate |
//! | `http`, `net`, `tls`, `secret` | the HTTP gate: what is sent, over which connection, with which secrets |
//! | `undo` | the two interfaces that a component imports from us |
//! | `limits`, `stdio` | what bounds a call |
//! | `observe`, `look` | states of targets on disk, and what stands in a file |

mod attempt;
mod cache;
mod call;
mod cancel;
mod component;
mod describe;
mod engine;
mod evidence;
mod explain;
mod fs;
mod fs_effects;
mod grant;
mod http;
mod limits;
mod look;
mod names;
mod net;
mod observe;
mod open;
mod private;
mod schema;
mod secret;
mod sections;
mod state;
mod stdio;
mod stream;
mod tls;
mod undo;
mod world;

pub use attempt::{Durable, Watcher};
pub use call::{Call, CallKind, Reach, Report};
pub use cancel::Cancel;
pub use component::{Component, LoadError, Provenance};
pub use describe::is_reserved;
pub use engine::{Sandbox, SandboxConfig, SandboxError};
pub use look::{Looked, Stands, look};
pub use net::{Connection, Net, NetError, Resolver, Stream, SystemResolver};
pub use observe::{observe, observe_like, sync_paths};
pub use private::PrivateFolder;
pub use secret::read_secret;
pub use sections::{Section, Sections, sections};
pub use tls::TlsError;
pub use world::ImportKind;
