//! Defects that a test plants into the core, to show that the simulation finds them. Without the feature `planted-bugs`, which
//! no program is built with, none can be planted, and the compiler leaves the questions out.

/// A rule of the core that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The place of a step among the INTENTs is that of its result.
    IntentOrder,
    /// An undo may begin while an attempt runs.
    Fence,
    /// A later attempt's undo record replaces the one in force.
    RecordInForce,
    /// An owner that was replaced may still append.
    OwnerEpoch,
    /// An approval is not used up by the step's result.
    ApprovalConsumption,
    /// Steps are undone in the order in which they ran.
    UndoOrder,
    /// Steps without an order between them may touch the same target.
    ConflictCheck,
    /// What was lost with the machine is not taken into account.
    LostWrites,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::IntentOrder,
        Bug::Fence,
        Bug::RecordInForce,
        Bug::OwnerEpoch,
        Bug::ApprovalConsumption,
        Bug::UndoOrder,
        Bug::ConflictCheck,
        Bug::LostWrites,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a defect for this thread, or takes it out again.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this defect was planted.
#[cfg(feature = "planted-bugs")]
pub(super) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this defect was planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(super) const fn is(_: Bug) -> bool {
    false
}
