//! natter-gateway
