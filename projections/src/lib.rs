//! natter-projections
