//! Tables that a gateway needs, on the real kernel.

#[path = "nftables/drift.rs"]
mod drift;
#[path = "nftables/gateways.rs"]
mod gateways;
#[path = "nftables/nft.rs"]
mod nft;
#[path = "nftables/packets.rs"]
mod packets;
#[path = "nftables/round_trip.rs"]
mod round_trip;
