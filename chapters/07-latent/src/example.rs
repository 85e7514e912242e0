//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p latent` shows the first of them and the caches.

use crate::experiments::{
    self, BEFORE, CACHED, CHUNKS, DEEPSEEK, Intensity, KV_HEADS, LARGE_MHA, Machine,
    Mistake, PARTS_OF, RANKS, SCALED, V2, V2_LITE, Work, small,
};
use crate::{Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
use anyhow::Result;
use attention::example::grouped as thousands;
use attention::{Linear, Mask};
use grouped_query::experiments::per_device;
use nalgebra::{DMatrix, dmatrix};
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];

/// Two heads of 2 + 2 features on latents of 2, in integers: small enough for pen and
/// paper.
const SMALL: Sizes = Sizes { heads: 2, nope_dim: 2, rope_dim: 2, v_dim: 1 };

/// The worked example: its tokens, its projections, and the layer that they make.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, Projections, LatentAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0];
    let plain = |weight| Linear::new(weight, None);
    let projections = Projections {
        query: QueryProjection::Full(plain(dmatrix![
            2.0, 0.0, 0.0, 0.0,  0.0, 0.0, 2.0, 0.0;
            0.0, 2.0, 0.0, 0.0,  0.0, 2.0, 2.0, 0.0
        ])?),
        kv_a_proj: plain(dmatrix![1.0, 1.0, 1.0, 0.0; 1.0, -1.0, 1.0, 0.0])?,
        kv_a_layernorm: RmsNorm::new(vec![1.0; 2]),
        kv_b_proj: plain(dmatrix![
            1.0, 0.0, 20.0,  0.0, 1.0, 10.0;
            0.0, 2.0, 10.0,  1.0, 0.0, 30.0
        ])?,
        o_proj: plain(DMatrix::identity(2, 2))?,
    };
    let layer = LatentAttention::new(projections.clone(), SMALL, 10_000.0)?;
    Ok((x, projections, layer))
}

/// The worked example: what three tokens leave behind, and what they ask.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, projections, layer) = toy()?;
    let Projections {
        query: QueryProjection::Full(q_proj), kv_a_proj, kv_b_proj, ..
    } = &projections
    else {
        anyhow::bail!("the toy's queries have no latent");
    };
    let q = layer.queries(&x, 0)?;
    let parts = [
        table("W_Q: two heads of [2 | 2]", &["", ""], q_proj.weight(), 0),
        table("W_DKV | W_KR", &["", ""], kv_a_proj.weight(), 0),
        table("W_UK | W_UV, head by head", &["", ""], kv_b_proj.weight(), 0),
        table("x: three tokens, two features", &TOY, &x, 0),
        table("x [W_DKV | W_KR]", &TOY, &kv_a_proj.forward(&x)?, 0),
        table("kept: c normed | r turned", &TOY, &layer.compress(&x, 0)?, 2),
        table("queries, not turned: two heads", &TOY, &q.nope, 0),
        table("queries, turned", &TOY, &q.rope, 2),
    ];
    Ok(parts.join("\n"))
}

/// The last of the three tokens looks at all of them, with head 0, in both forms.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn two_orders() -> Result<String> {
    let (x, _, layer) = toy()?;
    let kept = layer.compress(&x, 0)?;
    let q = layer.queries(&x.rows(2, 1).into_owned(), 2)?;
    let keys = layer.expand(kept.as_view())?;
    let (k, v) = (keys.k.columns(0, 2).into_owned(), keys.v.columns(0, 1).into_owned());
    let q0 = q.nope.columns(0, 2).into_owned();
    let c = kept.columns(0, 2).into_owned();
    let asks = layer.absorb(&q, 0) * 2.0;
    let [naive, absorbed] = [Form::Naive, Form::Absorbed]
        .map(|form| layer.attend_one(&q, kept.as_view(), form));
    let (naive, absorbed) = (naive?, absorbed?);
    let row =
        |title: &str, m: &DMatrix<f32>, digits| table(title, &["both"], m, digits);
    let mut text = String::from("NAIVE, head 0\n");
    text += &table("k = c W_UK", &TOY, &k, 2);
    text += &row("q", &q0, 0);
    text += &row("q kᵀ", &(&q0 * k.transpose()), 2);
    text += &row("weights", &naive.weights[0], 3);
    text += &table("v = c W_UV", &TOY, &v, 2);
    text += &row("weights v", &naive.found.columns(0, 1).into_owned(), 2);
    text += "\nABSORBED, head 0\n";
    let asks_c = asks.columns(0, 2).into_owned();
    text += &row("q W_UKᵀ", &asks_c, 0);
    text += &row("(q W_UKᵀ) cᵀ", &(&asks_c * c.transpose()), 2);
    text += &row("weights", &absorbed.weights[0], 3);
    text += &row("weights c", &(&absorbed.weights[0] * &c), 3);
    text += &row("(weights c) W_UV", &absorbed.found.columns(0, 1).into_owned(), 2);
    Ok(text)
}

/// Table 1 of DeepSeek-V2, recomputed for its own shape.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn cache_table() -> Result<String> {
    let mut text = String::from("values per token         layer  60 layers\n");
    let eager = DEEPSEEK.sizes.heads * (DEEPSEEK.sizes.qk_dim() + DEEPSEEK.sizes.v_dim);
    let rows = [
        ("keys, values expanded", eager * V2.layers),
        ("multi-head", V2.multi_head()),
        ("grouped, 8 kv heads", V2.grouped(8)),
        ("multi-query", V2.grouped(1)),
        ("latent", V2.latent()),
    ];
    for (name, values) in rows {
        let (layer, all) =
            (thousands((values / V2.layers) as u64), thousands(values as u64));
        writeln!(text, "{name:<22} {layer:>7} {all:>10}")?;
    }
    Ok(text)
}

/// The caches that DeepSeek-V2 prints in its table 9, recomputed.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn printed() -> Result<String> {
    let mut text = String::from("                   values  printed\n");
    let rows = [
        ("small, multi-head", V2_LITE.multi_head(), "110.6K"),
        ("small, latent", V2_LITE.latent(), "15.6K"),
        ("large, multi-head", LARGE_MHA.multi_head(), "860.2K"),
        ("large, latent", V2.latent(), "34.6K"),
    ];
    for (name, values, printed) in rows {
        writeln!(text, "{name:<17} {:>7} {printed:>8}", thousands(values as u64))?;
    }
    Ok(text)
}

/// What is left of the cache, by whom it is compared with.
///
/// # Errors
/// When DeepSeek-67B is not in the list of models.
pub fn denominators() -> Result<String> {
    let mut text = String::from("compared with                  less by\n");
    for (name, share) in experiments::remaining()? {
        writeln!(text, "{name:<29} {:>6.1} %", 100.0 * (1.0 - share))?;
    }
    Ok(text)
}

/// One token of DeepSeek-V2 over its cached tokens: what each of these costs.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn per_cached() -> Result<String> {
    let s = DEEPSEEK;
    let heads = s.sizes.heads;
    let again = s.lora_rank * s.expanded();
    let eager = heads * (s.sizes.qk_dim() + s.sizes.v_dim);
    let mut text = String::from("                    multiply-adds   kept\n");
    let naive = heads * s.pair(Form::Naive);
    let rows = [
        ("expand each time", again + naive, s.kept()),
        ("expanded, cached", naive, eager),
        ("absorbed", heads * s.pair(Form::Absorbed), s.kept()),
    ];
    for (name, adds, read) in rows {
        let (adds, read) = (thousands(adds as u64), thousands(read as u64));
        writeln!(text, "{name:<18} {adds:>14} {read:>6}")?;
    }
    Ok(text)
}

/// Operations per byte of cache that decoding does, beside what machines can do.
///
/// # Errors
/// When the recording does not hold what the machine can do.
pub fn intensity() -> Result<String> {
    let mut text = String::from("operations per byte       f32   bf16\n");
    let rows = [
        ("multi-head", Intensity::shared(1, 128)),
        ("grouped, 8 heads on 1", Intensity::shared(8, 128)),
        ("absorbed, 16 heads", Intensity::absorbed(SCALED)),
        ("absorbed, 128 heads", Intensity::absorbed(DEEPSEEK)),
    ];
    for (name, of) in rows {
        let [f32, bf16] = [4, 2].map(|bytes| of.per_byte(bytes));
        writeln!(text, "{name:<21} {f32:>7.1} {bf16:>6.1}")?;
    }
    let roof = Machine::recorded()?.roof();
    writeln!(text, "this machine          {roof:>7.1}")?;
    writeln!(text, "H100                          {:>6.1}", experiments::H100)?;
    Ok(text)
}

/// Numbers per token, layer and device when heads are divided among devices.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn devices() -> Result<String> {
    let mut text = String::from("devices                  1     2     4     8\n");
    let counts = [1, 2, 4, 8];
    let heads = [("multi-head, 32 heads", 32), ("8 kv heads", 8), ("1 kv head", 1)];
    let mut row = |name: &str, numbers: [usize; 4]| {
        let numbers = numbers.map(|n| format!("{:>6}", thousands(n as u64)));
        writeln!(text, "{name:<20}{}", numbers.concat())
    };
    for (name, kv_heads) in heads {
        row(name, counts.map(|n| per_device(kv_heads, 128, n)))?;
    }
    row("latent, 512 + 64", [DEEPSEEK.kept(); 4])?;
    Ok(text)
}

/// One token over cached ones, as the benchmark recorded it.
///
/// # Errors
/// When the recording does not hold it.
pub fn decode() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("cached  naive absorbed ratio predicted\n");
    for cached in CACHED {
        let ms = |case| recorded.milliseconds(case, cached);
        let (naive, absorbed) = (ms("naive")?, ms("absorbed")?);
        let speedup = experiments::speedup(cached)?;
        let (ratio, predicted) = (speedup.measured, speedup.predicted);
        writeln!(
            text,
            "{cached:>6} {naive:>6.1} {absorbed:>8.2} {ratio:>5.0} {predicted:>9.0}"
        )?;
    }
    Ok(text)
}

/// One token over 8,192 cached ones, beside layers that cache keys and values.
///
/// # Errors
/// When the recording does not hold it.
pub fn beside() -> Result<String> {
    let recorded = experiments::recorded()?;
    let longest = CACHED[CACHED.len() - 1];
    let Sizes { heads, v_dim, .. } = SCALED.sizes;
    let expanded = heads * (SCALED.sizes.nope_dim + v_dim) + SCALED.sizes.rope_dim;
    let rows = [
        ("naive", "naive", SCALED.kept()),
        ("absorbed", "absorbed", SCALED.kept()),
        ("expanded, cached", "expanded", expanded),
        ("grouped, 2 kv heads", "grouped", 2 * KV_HEADS * v_dim),
        ("multi-head", "multi_head", 2 * heads * v_dim),
    ];
    let mut text = String::from("                         ms   kept\n");
    for (name, case, kept) in rows {
        let ms = recorded.milliseconds(case, longest)?;
        writeln!(text, "{name:<19} {ms:>7.2} {:>6}", thousands(kept as u64))?;
    }
    Ok(text)
}

/// Chunks of new tokens after cached ones, as the benchmark recorded them.
///
/// # Errors
/// When the recording does not hold them.
pub fn chunks() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("new tokens   naive absorbed  ratio\n");
    for new in CHUNKS {
        let naive = recorded.milliseconds("chunk_naive", new)?;
        let absorbed = recorded.milliseconds("chunk_absorbed", new)?;
        let ratio = absorbed / naive;
        writeln!(text, "{new:>10} {naive:>7.1} {absorbed:>8.1} {ratio:>6.2}")?;
    }
    Ok(text)
}

/// The error of MiniLM's heads with a latent, beside shared heads of the same cache: the
/// mean of each group as it is, and after its heads were turned toward one another.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn ranks() -> Result<String> {
    let mut text = String::from("values kept  latent  aligned   mean (kv heads)\n");
    for rank in RANKS {
        write!(text, "{rank:>11} {:>7.2}", experiments::mean_error(rank)?)?;
        // Twelve heads of 32: each kv head takes 64 values.
        if rank % 64 == 0 && 12 % (rank / 64) == 0 {
            let kv_heads = rank / 64;
            let shared = experiments::shared(kv_heads)?;
            write!(text, "  {:>7.2} {:>6.2} ({kv_heads})", shared.all, shared.mean)?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// The errors of each layer of MiniLM on 512 tokens, by the width of the latent.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn all_layers() -> Result<String> {
    let mut text = String::from("layer    64   128   192   256   320   384\n");
    for (layer, errors) in experiments::errors_by_layer()?.iter().enumerate() {
        write!(text, "{layer:>5}")?;
        for (_, error) in RANKS.iter().zip(errors).filter(|(rank, _)| *rank % 64 == 0) {
            write!(text, " {error:>5.2}")?;
        }
        text.push('\n');
    }
    Ok(text)
}

fn mistakes(rows: &[(&str, Sizes, usize)], mistake: Mistake) -> Result<String> {
    let mut text = String::from("                     relative error\n");
    for (name, sizes, tokens) in rows {
        let error = experiments::mistaken(mistake, *sizes, *tokens)?;
        writeln!(text, "{name:<21} {error:>13.2}")?;
    }
    Ok(text)
}

/// Dividing by √nope, where it shows and where it does not.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn wrong_scale() -> Result<String> {
    let rows = [
        ("rope as wide as nope", small(4, 16), 20),
        ("an eighth of it", small(4, 2), 20),
        ("one token", small(4, 16), 1),
    ];
    mistakes(&rows, experiments::scaled_by_nope)
}

/// Cutting `kv_b_proj` once, where it shows and where it does not.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn wrong_cut() -> Result<String> {
    let rows = [
        ("4 heads", small(4, 8), 20),
        ("2 heads", small(2, 8), 20),
        ("2 heads, one token", small(2, 8), 1),
        ("1 head", small(1, 8), 20),
    ];
    mistakes(&rows, experiments::cut_once)
}

/// Turning halves instead of neighbors, where it shows and where it does not.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn wrong_pairs() -> Result<String> {
    let rows = [
        ("4 pairs", small(4, 8), 20),
        ("2 pairs", small(4, 4), 20),
        ("1 pair", small(4, 2), 20),
        ("one token", small(4, 8), 1),
    ];
    mistakes(&rows, experiments::turned_in_halves)
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let s = DEEPSEEK;
    let count = |n: usize| thousands(n as u64);
    fact("heads", s.sizes.heads.to_string())?;
    fact("kept", s.kept().to_string())?;
    fact("kept_60", count(V2.latent()))?;
    fact("multi_head", count(V2.multi_head() / V2.layers))?;
    fact("multi_head_60", count(V2.multi_head()))?;
    let times = V2.multi_head() as f64 / V2.latent() as f64;
    fact("times_less", format!("{times:.1}"))?;
    let eager = s.sizes.heads * (s.sizes.qk_dim() + s.sizes.v_dim);
    fact("eager", count(eager))?;
    fact("eager_times", format!("{:.0}", eager as f64 / s.kept() as f64))?;
    let group = 2 * s.sizes.nope_dim;
    fact("groups", format!("{:.2}", s.kept() as f64 / group as f64))?;
    for (key, (_, share)) in
        ["values", "bits", "shape"].iter().zip(experiments::remaining()?)
    {
        fact(&format!("less_{key}"), format!("{:.1} %", 100.0 * (1.0 - share)))?;
    }
    let older = minilm::models::find("DeepSeek-67B")?;
    let older = 2 * older.layers * older.kv_heads * older.head_dim;
    fact("older", thousands(older))?;
    fact("v3_bytes", count(61 * s.kept() * 2))?;
    let [naive, absorbed] = [Form::Naive, Form::Absorbed].map(|form| s.pair(form));
    fact("pair_naive", count(naive))?;
    fact("pair_absorbed", count(absorbed))?;
    fact("pair_ratio", format!("{:.1}", absorbed as f64 / naive as f64))?;
    let one =
        s.work(Form::Absorbed, 1, 1).multiply_adds - (s.sizes.heads * absorbed) as f64;
    fact("absorbing", count(one as usize))?;
    let (q_rank, nope, rank) = (1536, s.sizes.nope_dim, s.lora_rank);
    fact("factors", count(nope * (q_rank + rank)))?;
    fact("product", count(q_rank * rank))?;
    fact("product_times", (q_rank * rank / (nope * (q_rank + rank))).to_string())?;
    fact("crossing", format!("{:.0}", s.crossing()))?;
    fact("crossing_before", format!("{:.0}", SCALED.crossing_after(BEFORE)))?;
    fact("crossing_measured", format!("{:.0}", experiments::measured_crossing()?))?;
    fact("before", count(BEFORE))?;
    timed_facts(&mut fact)?;
    let away = experiments::turned_away(9)?;
    for distance in [1, 2, 8] {
        fact(&format!("away_{distance}"), format!("{:.2}", away[distance]))?;
    }
    for rank in [64, 128, 256, 320] {
        fact(
            &format!("rank_{rank}"),
            format!("{:.2}", experiments::mean_error(rank)?),
        )?;
    }
    for kv_heads in [1, 2, 4, 6] {
        let shared = experiments::shared(kv_heads)?;
        fact(&format!("grouped_{kv_heads}"), format!("{:.2}", shared.mean))?;
        fact(&format!("aligned_{kv_heads}"), format!("{:.2}", shared.all))?;
    }
    let (x, _, layer) = toy()?;
    let found = layer.forward(&x, &Mask::None, Form::Absorbed)?;
    fact("both_head_0", format!("{:.2}", found.output[(2, 0)]))?;
    Ok(text + &machines()?)
}

/// What the prose quotes of processors and devices, and of `DeepSeek`'s scale.
fn machines() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let absorbed = Intensity::absorbed(DEEPSEEK);
    for (key, of) in [("absorbed", absorbed), ("multi_head", Intensity::shared(1, 128))]
    {
        fact(&format!("intensity_{key}_f32"), format!("{:.1}", of.per_byte(4)))?;
        fact(&format!("intensity_{key}"), format!("{:.0}", of.per_byte(2)))?;
    }
    let machine = Machine::recorded()?;
    fact("roof", format!("{:.0}", machine.roof()))?;
    fact("read_gb", format!("{:.0}", 4.0 * machine.numbers / 1e9))?;
    fact("roof_h100", format!("{:.0}", experiments::H100))?;
    fact("per_device_grouped", per_device(8, 128, 8).to_string())?;
    for (key, mscale) in [("v2", 0.707), ("v3", 1.0)] {
        let square = experiments::yarn_temperature(40.0, mscale).powi(2);
        fact(&format!("mscale_{key}"), format!("{square:.2}"))?;
    }
    Ok(text)
}

/// The numbers that come from the recording.
fn timed_facts(fact: &mut impl FnMut(&str, String) -> std::fmt::Result) -> Result<()> {
    let recorded = experiments::recorded()?;
    fact("parts_of", thousands(PARTS_OF as u64))?;
    for part in ["expand", "scores", "softmax", "average"] {
        let case = format!("part_{part}");
        let ms = recorded.milliseconds(&case, PARTS_OF)?;
        fact(&case, format!("{ms:.1}"))?;
    }
    for form in ["naive", "absorbed"] {
        let case = format!("chunk_{form}");
        let ms = recorded.milliseconds(&case, PARTS_OF)?;
        fact(&format!("parts_{form}"), format!("{ms:.1}"))?;
    }
    let machine = Machine::recorded()?;
    fact("machine_adds", format!("{:.0}", machine.multiply_adds / 1e9))?;
    fact("machine_reads", format!("{:.1}", machine.numbers / 1e9))?;
    let longest = CACHED[CACHED.len() - 1];
    fact("longest", thousands(longest as u64))?;
    let speedup = experiments::speedup(longest)?;
    fact("speedup", format!("{:.0}", speedup.measured))?;
    let off = CACHED.into_iter().map(|cached| Ok(experiments::speedup(cached)?.off()));
    let off = off.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
    fact("speedup_off", format!("{:.0} %", 100.0 * off))?;
    fact("speedup_predicted", format!("{:.0}", speedup.predicted))?;
    for form in [Form::Naive, Form::Absorbed] {
        let work = SCALED.work(form, 1, longest);
        let name = if form == Form::Naive { "naive" } else { "absorbed" };
        let adds = (work.multiply_adds / 1e6).round() as u64;
        fact(&format!("adds_{name}"), thousands(adds))?;
        fact(&format!("numbers_{name}"), format!("{:.1}", work.numbers / 1e6))?;
        fact(&format!("ms_{name}"), format!("{:.1}", machine.milliseconds(work)))?;
        let ms = recorded.milliseconds(name, longest)?;
        fact(&format!("measured_{name}"), format!("{ms:.1}"))?;
    }
    let arithmetic = SCALED.work(Form::Naive, 1, longest).multiply_adds
        / SCALED.work(Form::Absorbed, 1, longest).multiply_adds;
    fact("arithmetic", format!("{arithmetic:.0}"))?;
    let absorbed = SCALED.work(Form::Absorbed, 1, longest);
    let computing = absorbed.multiply_adds / machine.multiply_adds * 1e3;
    let reading = absorbed.numbers / machine.numbers * 1e3;
    fact("ms_absorbed_computing", format!("{computing:.1}"))?;
    fact("ms_absorbed_reading", format!("{reading:.1}"))?;
    let latents = (longest * SCALED.lora_rank) as f64;
    let once = Work { numbers: absorbed.numbers - latents, ..absorbed };
    let [once, naive] = [once, SCALED.work(Form::Naive, 1, longest)]
        .map(|work| machine.milliseconds(work));
    fact("ms_absorbed_once", format!("{once:.1}"))?;
    fact("speedup_once", format!("{:.0}", naive / once))?;
    let grouped = recorded.milliseconds("absorbed", longest)?
        / recorded.milliseconds("grouped", longest)?;
    fact("grouped_faster", format!("{grouped:.0}"))?;
    let plain = recorded.milliseconds("absorbed", longest)?
        / recorded.milliseconds("multi_head", longest)?;
    fact("absorbed_share", format!("{:.0} %", 100.0 * plain))?;
    for case in ["grouped", "expanded", "multi_head"] {
        let ms = recorded.milliseconds(case, longest)?;
        fact(&format!("measured_{case}"), format!("{ms:.1}"))?;
    }
    Ok(())
}

/// A titled matrix, one row a line.
fn table(title: &str, rows: &[&str], matrix: &DMatrix<f32>, digits: usize) -> String {
    let width = if digits == 0 { 4 } else { 7 };
    let mut text = format!("{title}\n");
    for (label, row) in rows.iter().zip(matrix.row_iter()) {
        // No "-0.00": it depends on the processor.
        let cells = row.iter().map(|&cell| if cell.abs() < 5e-4 { 0.0 } else { cell });
        let cells = cells.map(|cell| format!("{cell:>width$.digits$}"));
        text += &format!("  {label:<4}{}\n", cells.collect::<String>());
    }
    text
}
