//! natter-processors
