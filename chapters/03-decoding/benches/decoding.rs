use decoding::attend_few;
use nalgebra::*;
use std::time::Instant;
fn main() {
    let t = 8192;
    let mut s = 1u32;
    let mut r = || {
        s = s.wrapping_mul(1664525).wrapping_add(1013904223);
        (s >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    for g in [32, 8, 1] {
        let k = DMatrix::from_fn(t, g * 128, |_, _| r());
        let v = DMatrix::from_fn(t, g * 128, |_, _| r());
        let q = DMatrix::from_fn(32 / g, g * 128, |_, _| r());
        let mut ts = vec![];
        for _ in 0..40 {
            let a = Instant::now();
            for h in 0..g {
                std::hint::black_box(
                    attend_few(
                        q.columns(h * 128, 128),
                        k.columns(h * 128, 128),
                        v.columns(h * 128, 128),
                    )
                    .unwrap(),
                );
            }
            ts.push(a.elapsed().as_secs_f64() * 1e3);
        }
        ts.sort_by(f64::total_cmp);
        println!("kv heads {g}: min {:.2} med {:.2}", ts[0], ts[20]);
    }
}
