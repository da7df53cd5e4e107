//! `user.update`.

use natter_schemas::command::Origin;
use natter_schemas::outcome::Accepted;

use super::case::Case;
use super::facts::Facts;

/// The sender's display name: the user's own wish always counts, an imported name only if nothing later is in force.
///
/// A line whose name does not count is taken all the same, since others follow it.
pub(super) fn update<F: Facts>(case: &Case<'_, F>) -> Accepted {
    let Origin::Import(line) = &case.command.origin else { return Accepted::UserUpdated };
    let at_ms = case.command.named_at_ms(case.context.stored_ms, case.context.log_ms);
    match case.facts.named_at(case.tenant(), case.sender()) {
        Some(in_force_ms) if line.introduces || at_ms < in_force_ms => Accepted::NameKept,
        Some(_) | None => Accepted::UserUpdated,
    }
}
