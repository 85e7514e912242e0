//! Times what rotation adds to a layer, part by part, and what it would cost to turn the
//! whole cache for each token.
//!
//!     cargo bench -p rotary               print the figures
//!     cargo bench -p rotary -- --record   and keep them in benches/recorded.csv

use attention::Mask;
use chapter_cli::bench::{Bench, timed};
use decoding::experiments::normal;
use grouped_query::attend_stacked;
use rotary::experiments::{TIMED, timed_layer};
use std::cell::RefCell;

const SIZES: [usize; 3] = [128, 512, 2048];
const CACHED: usize = 8192;

fn main() -> anyhow::Result<()> {
    let mut table = Bench::start();
    let layer = timed_layer()?;
    for n in SIZES {
        let x = normal(n, TIMED.0, 7);
        let angles = layer.rotary().angles(0..n);
        let projected = RefCell::new(layer.project(&x, 0)?);
        let context = normal(n, TIMED.1 * TIMED.3, 8);
        let tables = || timed(|| layer.rotary().angles(0..n));
        let rotate = || {
            let both = &mut *projected.borrow_mut();
            timed(|| (angles.rotate(&mut both.q), angles.rotate(&mut both.k)))
        };
        let project = || {
            timed(|| {
                let all = layer.layer().project(&x, &x);
                (all, layer.layer().o_proj().forward(&context))
            })
        };
        let causal = Mask::Causal { offset: 0 };
        let whole = || timed(|| layer.forward(&x, &causal));
        table.measure(&[
            ("table", n, &tables),
            ("rotate", n, &rotate),
            ("project", n, &project),
            ("whole", n, &whole),
        ]);
    }

    let (_, heads, kv_heads, head_dim) = TIMED;
    let q = normal(1, heads * head_dim, 9);
    let keys = RefCell::new(normal(CACHED, kv_heads * head_dim, 10));
    let values = normal(CACHED, kv_heads * head_dim, 11);
    let angles = layer.rotary().angles(0..CACHED);
    let groups = layer.layer().groups();
    let attend = || {
        let keys = keys.borrow();
        timed(|| attend_stacked(&q, keys.as_view(), values.as_view(), groups))
    };
    let rotate = || timed(|| angles.rotate(&mut keys.borrow_mut()));
    table.measure(&[("attend_one", CACHED, &attend), ("rotate_keys", CACHED, &rotate)]);
    Ok(table.finish(env!("CARGO_MANIFEST_DIR"))?)
}
