//! Reads what happened between a view and the overlay above it.

use natter_schemas::event::placed;
use natter_schemas::limits::OVERLAY_BATCHES_MAX;

use crate::error::Halt;
use crate::overlay::Overlay;
use crate::ports::Surroundings;

/// Lowers the overlay's floor to a view's watermark by reading the outcomes between from the log.
///
/// # Errors
/// [`Halt::Behind`]: the view is so far behind that what lies between does not fit.
pub(super) async fn lower(
    overlay: &mut Overlay,
    around: &impl Surroundings,
    watermark: u64,
    last: u64,
) -> Result<(), Halt> {
    let behind = Halt::Behind { watermark, last };
    let floor = overlay.floor();
    if floor - watermark > OVERLAY_BATCHES_MAX {
        return Err(behind);
    }
    tracing::debug!(watermark, floor, "the redis view is behind; reading the outcomes between");
    let facts_max = around.facts_max();
    let mut older = Overlay::above(watermark, facts_max);
    let fold = |stored: &natter_nats::Stored| {
        for placed in placed(around.partition(), stored.sequence, &stored.payload)? {
            if let Some(accepted) = placed.accepted() {
                older.fold(&accepted);
            }
        }
        if older.changed_after(watermark) > facts_max { Err(behind.clone()) } else { Ok(()) }
    };
    around.read_outcomes(watermark, floor, fold).await?;
    overlay.lower(older);
    Ok(())
}
