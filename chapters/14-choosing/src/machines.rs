//! Machines by name, as their makers describe them.

use crate::Machine;

/// A few that models run on. Arithmetic is dense, in half precision with sums in f32.
///
/// Sources: NVIDIA's data sheets of the H100, H200, A100 (80 GB) and L4, SXM forms where
/// there are any, half of what they give with sparsity; the Ada architecture's white paper
/// for the RTX 4090. The last one is arithmetic: two channels of DDR5-5600 carry 2 · 8 ·
/// 5.6 GB/s, and 8 cores of 4 GHz with two 8-wide fused multiply-adds each, 1.0 Tflop/s.
pub const MACHINES: [Machine; 6] = [
    machine("H100", 80.0, 3350.0, 989.0),
    machine("H200", 141.0, 4800.0, 989.0),
    machine("A100", 80.0, 2039.0, 312.0),
    machine("L4", 24.0, 300.0, 121.0),
    machine("RTX-4090", 24.0, 1008.0, 165.0),
    machine("laptop", 32.0, 89.6, 1.0),
];

/// From gigabytes, gigabytes per second, and 10¹² operations per second.
const fn machine(
    name: &'static str,
    gb: f64,
    gb_per_second: f64,
    tera: f64,
) -> Machine {
    Machine {
        name,
        memory: gb * 1e9,
        bandwidth: gb_per_second * 1e9,
        flops: tera * 1e12,
    }
}

/// The machine of that name, whatever the case of its letters.
#[must_use]
pub fn find(name: &str) -> Option<Machine> {
    MACHINES.into_iter().find(|machine| machine.name.eq_ignore_ascii_case(name))
}
