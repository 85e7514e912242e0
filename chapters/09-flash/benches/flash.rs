use attention::Mask; use grouped_query::{Groups, attend_groups}; use nalgebra::DMatrix; use rand_chacha::ChaCha8Rng; use rand_chacha::rand_core::SeedableRng; use rand_distr::{Distribution, StandardNormal}; use std::time::Instant;
fn normal(r: usize, c: usize, s: u64) -> DMatrix<f32> { let mut rng = ChaCha8Rng::seed_from_u64(s); DMatrix::from_fn(r, c, |_, _| StandardNormal.sample(&mut rng)) }
fn main() {
    for g in [32,8,1] {
        let groups = Groups::new(32, g).unwrap();
        let (q,k,v)=(normal(1,32*128,1),normal(8192,g*128,2),normal(8192,g*128,3));
        let b = grouped_query::attend_stacked(&q,k.as_view(),v.as_view(),groups).unwrap().context;
        for chunk in [1024] {
            let a = flash::decode(&q,k.as_view(),v.as_view(),groups).unwrap();
            let mut t: Vec<f64> = (0..15).map(|_| { let s=Instant::now(); let a=flash::decode(&q,k.as_view(),v.as_view(),groups).unwrap(); let e=s.elapsed().as_secs_f64()*1e3; std::hint::black_box(a); e }).collect();
            t.sort_by(f64::total_cmp);
            println!("decode {g} chunk {chunk} min {:.2} median {:.2} diff {}", t[0], t[t.len()/2], (a-&b).abs().max());
        }
    }
    {
        let a: Vec<f32> = vec![1.0; 64<<20];
        use rayon::prelude::*;
        for _ in 0..3 { let s=Instant::now(); let x: f32 = a.par_chunks(1<<20).map(|c| pulp::Arch::new().dispatch(#[inline(always)] || { let mut sum=[0.0f32;64]; for c in c.chunks_exact(64) { for (s,x) in sum.iter_mut().zip(c) { *s+=x; } } sum.iter().sum::<f32>() })).sum(); println!("read {:.1} GB/s {x}", 0.268435456/s.elapsed().as_secs_f64()); }
    }
    if std::env::args().any(|a| a=="decode") { return; }
    let groups = Groups::new(8, 8).unwrap();
    for n in [300] { for mask in [Mask::None, Mask::Causal{offset:0}] {
        let (q,k,v)=(normal(n,512,1),normal(n,512,2),normal(n,512,3));
        let a = flash::attend(&q,k.as_view(),v.as_view(),groups,&mask).unwrap();
        let b = attend_groups(&q,k.as_view(),v.as_view(),groups,&mask).unwrap().context;
        println!("diff {}", (a-b).abs().max());
    } }
    for n in [512,1024,2048,4096] {
        let (q,k,v)=(normal(n,512,1),normal(n,512,2),normal(n,512,3));
        for mask in [Mask::None, Mask::Causal{offset:0}] {
            let mut t: Vec<f64> = (0..if n<4096 {15} else {7}).map(|_| { let s=Instant::now(); let a=flash::attend(&q,k.as_view(),v.as_view(),groups,&mask).unwrap(); let e=s.elapsed().as_secs_f64()*1e3; std::hint::black_box(a); e }).collect();
            t.sort_by(f64::total_cmp);
            println!("{n} {} min {:.2} median {:.2}", if mask==Mask::None {"full"} else {"causal"}, t[0], t[t.len()/2]);
        }
    }
}
