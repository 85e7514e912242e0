//! The chapter's figures, one function each.

use crate::Sizes;
use crate::experiments::{
    self, BEFORE, CACHED, CHUNKS, DEEPSEEK, KV_HEADS, RANKS, SCALED, V2,
};
use anyhow::Result;
use attention::example::grouped as thousands;
use figures::{Axis, Bars, Chart, Diagram, Figure, Hue, Slot, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        one_vector()?,
        two_orders()?,
        turned_away()?,
        denominators()?,
        decode()?,
        crossing()?,
        ranks()?,
    ])
}

/// What a token leaves behind, and what is made from it.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn one_vector() -> Result<Figure> {
    let Sizes { heads, rope_dim, .. } = DEEPSEEK.sizes;
    one_vector_of(DEEPSEEK.lora_rank, rope_dim, heads)
}

/// [`one_vector`] with another rank, turned key and number of heads.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn one_vector_of(rank: usize, rope: usize, heads: usize) -> Result<Figure> {
    let Sizes { nope_dim, v_dim, .. } = DEEPSEEK.sizes;
    let (kept, apart) = (rank + rope, heads * (nope_dim + v_dim));
    let is_deepseek = (rank, rope, heads)
        == (DEEPSEEK.lora_rank, DEEPSEEK.sizes.rope_dim, DEEPSEEK.sizes.heads);
    let widths = if is_deepseek {
        "Widths are those of DeepSeek-V2."
    } else {
        "DeepSeek-V2 has a latent of 512, a key of 64 and 128 heads."
    };
    let words = Words {
        title: "One vector is kept, and serves all heads".into(),
        caption: format!(
            "A token leaves {} numbers in the cache: a latent of {rank} and one turned key \
             of {rope}. Each of {heads} heads makes its own key and value from the \
             latent, with weights of its own, and puts the turned key beside its key. Keys \
             of {nope_dim} and values of {v_dim} kept for each head would be {} numbers, {:.1} \
             times as many. {widths}",
            thousands(kept as u64),
            thousands(apart as u64),
            apart as f64 / kept as f64,
        ),
        alt: format!(
            "Boxes and arrows from left to right. A token x leads to two boxes that are \
             cached: the latent c of {rank} numbers and the turned key of {rope}. From \
             c, arrows lead to the key and the value of each head, and from r to the key \
             of each head."
        ),
    };
    let at = |column, row| Slot { column, row };
    let diagram = Diagram::new()
        .node("x", at(0, 1), &["x"], Hue::Muted)
        .node("c", at(1, 0), &["latent c", &rank.to_string()], Hue::Latent)
        .node("r", at(1, 2), &["turned key", &rope.to_string()], Hue::Rotary)
        .node("v", at(2, 0), &["value", "of head h"], Hue::MultiHead)
        .node("k", at(2, 1), &["key", "of head h"], Hue::MultiHead)
        .arrow("x", "c", "W_DKV")
        .arrow("x", "r", "W_KR")
        .arrow("c", "v", "W_UV")
        .arrow("c", "k", "W_UK")
        .arrow("r", "k", "beside");
    Ok(Figure::draw("one_vector", words, &diagram)?)
}

/// The same score in two orders.
///
/// # Errors
/// When the diagrams cannot be drawn.
pub fn two_orders() -> Result<Figure> {
    let words = Words {
        title: "One product in two orders".into(),
        caption: "The score is one product of three, and the order of the work is free. \
                  Naive: every cached latent is multiplied by W_UK, and the query meets \
                  keys. Absorbed: the query alone is multiplied by W_UK, transposed, and \
                  meets the latents as they lie in the cache."
            .into(),
        alt: "Two rows of boxes. Above, naive: the latents c go through W_UK to keys of \
              each head, and these with the query q to scores. Below, absorbed: the query \
              q goes through W_UK transposed to one row, and this with the latents c to \
              scores."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let naive = Diagram::new()
        .title("Naive")
        .node("c", at(0, 0), &["all c"], Hue::Latent)
        .node("k", at(1, 0), &["all keys"], Hue::MultiHead)
        .node("s", at(2, 0), &["scores"], Hue::Muted)
        .node("q", at(1, 1), &["q"], Hue::MultiHead)
        .arrow("c", "k", "W_UK")
        .arrow("k", "s", "")
        .arrow("q", "s", "");
    let absorbed = Diagram::new()
        .title("Absorbed")
        .node("q", at(0, 0), &["q"], Hue::MultiHead)
        .node("a", at(1, 0), &["q W_UKᵀ"], Hue::Latent)
        .node("s", at(2, 0), &["scores"], Hue::Muted)
        .node("c", at(1, 1), &["all c"], Hue::Latent)
        .arrow("q", "a", "W_UKᵀ")
        .arrow("a", "s", "")
        .arrow("c", "s", "");
    Ok(Figure::panels("two_orders", words, 1, &[&naive, &absorbed])?)
}

/// How far the absorbed query moves with the distance, if whole keys were turned.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn turned_away() -> Result<Figure> {
    let away = experiments::turned_away(33)?;
    let words = Words {
        title: "If keys were turned, every distance would need its own query".into(),
        caption: format!(
            "An absorbed query is right for one distance and wrong for the next. The query \
             of “it” in layer 3, head 1, of MiniLM, turned as if rotary positions were \
             used, then absorbed: its difference from the one for distance 0, as a share \
             of its length, is {:.2} one token back and {:.2} eight back.",
            away[1], away[8],
        ),
        alt: format!(
            "A line over distances from 0 to 32 tokens. It starts at 0, is at {:.2} at \
             distance 1, {:.2} at 2 and {:.2} at 8, and wavers after that.",
            away[1], away[2], away[8],
        ),
    };
    let points = away.iter().enumerate().map(|(d, &off)| (d as f64, f64::from(off)));
    let plot = Chart::new(
        Axis::linear("tokens back").range(0.0, 32.0),
        Axis::linear("difference of the absorbed query").range(0.0, 1.25),
    )
    .line("", Hue::Rotary, points);
    Ok(Figure::draw("turned_away", words, &plot)?)
}

/// What is left of the cache, by whom it is compared with.
///
/// # Errors
/// When the list of models cannot be read.
pub fn denominators() -> Result<Figure> {
    let all = experiments::remaining()?;
    let less = all.map(|(_, share)| 100.0 * (1.0 - share));
    let left = all.map(|(_, share)| 100.0 * share);
    let words = Words {
        title: "Three caches to compare with, three savings".into(),
        caption: format!(
            "The 93.3 % of DeepSeek-V2’s abstract counts a cache of 6 bits against one of \
             16. In values, its {} per token are {:.1} % less than those of DeepSeek-67B, \
             which shares 8 kv heads; in bits, {:.1} %; and they are {:.1} % less than in \
             V2’s own shape with multi-head attention. The bars show what is left.",
            thousands(V2.latent() as u64),
            less[0],
            less[1],
            less[2],
        ),
        alt: format!(
            "Three bars: {:.1} % left against DeepSeek-67B in values, {:.1} % with 6 bits \
             against 16, {:.1} % against V2 with multi-head attention.",
            left[0], left[1], left[2],
        ),
    };
    let bars = Bars::new(
        Axis::linear("left of the cache, %").range(0.0, 20.0),
        ["67B, values", "67B, bits", "own shape"],
    )
    .series("", Hue::Latent, left);
    Ok(Figure::draw("denominators", words, &bars)?)
}

/// The time of one token against cached tokens, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn decode() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let longest = CACHED[CACHED.len() - 1];
    let points = |case| recorded.line(case).collect::<Vec<_>>();
    let ms = |case| recorded.milliseconds(case, longest);
    let (naive, absorbed) = (ms("naive")?, ms("absorbed")?);
    let (grouped, expanded) = (ms("grouped")?, ms("expanded")?);
    let mut most: f64 = 0.0;
    for cached in CACHED {
        most = most.max(experiments::speedup(cached)?.measured);
    }
    let words = Words {
        title: format!("Absorbed is up to {most:.0} times faster than naive"),
        caption: format!(
            "Looking at the latents themselves is up to {most:.0} times faster than expanding \
             them for each token. One token of {} heads over up to {} cached ones, recorded on \
             two cores: naive {naive:.0} ms at the right, absorbed {absorbed:.1}, with \
             expanded keys and values cached {expanded:.1}, and grouped-query with \
             {KV_HEADS} kv heads, which caches about as much as the latent, {grouped:.1}.",
            SCALED.sizes.heads,
            thousands(longest as u64),
        ),
        alt: format!(
            "Four rising lines on log scales, at {} cached tokens: naive {naive:.0} ms, \
             expanded and cached {expanded:.1}, absorbed {absorbed:.1}, grouped-query \
             {grouped:.1}.",
            thousands(longest as u64),
        ),
    };
    let plot = Chart::new(Axis::log2("cached tokens"), Axis::log("time per token, ms"))
        .measured("naive", Hue::Accent, points("naive"))
        .measured("expanded", Hue::MultiHead, points("expanded"))
        .measured("absorbed", Hue::Latent, points("absorbed"))
        .measured("grouped", Hue::GroupedQuery, points("grouped"));
    Ok(Figure::measured("decode", words, &recorded.measured(), 1, &[&plot])?)
}

/// The time of a chunk against its length, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn crossing() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let points = |case| recorded.line(case).collect::<Vec<_>>();
    let most = CHUNKS[CHUNKS.len() - 1];
    let ms = |case, n| recorded.milliseconds(case, n);
    let (counted, measured) = (SCALED.crossing(), experiments::measured_crossing()?);
    let words = Words {
        title: "Few new tokens: absorb. Many: expand".into(),
        caption: format!(
            "Both forms take equally long for about {measured:.0} new tokens. Chunks \
             of new tokens after {} cached ones, recorded on two cores: {:.0} ms against \
             {:.1} for one token, {:.0} against {} for {}. Counting multiply-adds alone \
             puts the crossing after a long cache at {counted:.0}.",
            thousands(BEFORE as u64),
            ms("chunk_naive", 1)?,
            ms("chunk_absorbed", 1)?,
            ms("chunk_naive", most)?,
            thousands(ms("chunk_absorbed", most)?.round() as u64),
            thousands(most as u64),
        ),
        alt: format!(
            "Two lines on log scales over 1 to {} new tokens. Naive starts high at {:.0} \
             ms and is nearly level up to 100; absorbed starts at {:.1} ms, rises \
             steadily, and crosses it near {measured:.0}.",
            thousands(most as u64),
            ms("chunk_naive", 1)?,
            ms("chunk_absorbed", 1)?,
        ),
    };
    let plot = Chart::new(Axis::log2("new tokens"), Axis::log("time of the chunk, ms"))
        .measured("naive", Hue::Accent, points("chunk_naive"))
        .measured("absorbed", Hue::Latent, points("chunk_absorbed"))
        .vertical(counted, "by count");
    let measured = recorded.measured();
    Ok(Figure::measured("crossing", words, &measured, 1, &[&plot])?)
}

/// The error of a latent in real layers, beside shared heads of the same cache.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn ranks() -> Result<Figure> {
    let latent =
        RANKS.map(|rank| Ok((rank as f64, experiments::mean_error(rank)?.into())));
    let latent: Vec<(f64, f64)> = latent.into_iter().collect::<Result<_>>()?;
    let (mut means, mut turned) = (Vec::new(), Vec::new());
    for kv_heads in [1, 2, 3, 4, 6] {
        let shared = experiments::shared(kv_heads)?;
        let kept = 64.0 * kv_heads as f64;
        means.push((kept, f64::from(shared.mean)));
        turned.push((kept, f64::from(shared.all)));
    }
    let find = |points: &[(f64, f64)], at: f64| {
        points.iter().find(|point| point.0 == at).map_or(f64::NAN, |point| point.1)
    };
    let words = Words {
        title: "With the same cache, a latent loses less than shared heads".into(),
        caption: format!(
            "With the same number of cached values, MiniLM keeps more of what its heads said \
             when keys and values come from a latent. Relative error of the heads’ output, \
             mean over six layers on 512 tokens, without any training: at 64 values {:.2} \
             with a latent and {:.2} with one kv head whose heads were aligned first, at 256 \
             {:.2} and {:.2}. At 384, the width of a token, the latent loses nothing.",
            find(&latent, 64.0),
            find(&turned, 64.0),
            find(&latent, 256.0),
            find(&turned, 256.0),
        ),
        alt: format!(
            "Three lines over 32 to 384 values kept per token. The latent falls from {:.2} \
             to 0; aligned groups fall from {:.2} at 64 to {:.2} at 384; means from {:.2} to \
             {:.2}.",
            latent[0].1,
            find(&turned, 64.0),
            find(&turned, 384.0),
            find(&means, 64.0),
            find(&means, 384.0),
        ),
    };
    let plot = Chart::new(
        Axis::linear("values kept per token").range(0.0, 400.0),
        Axis::linear("relative error").range(0.0, 1.2),
    )
    .line("latent", Hue::Latent, latent)
    .line("aligned", Hue::GroupedQuery, turned)
    .line("mean", Hue::Muted, means);
    Ok(Figure::draw("ranks", words, &plot)?)
}
