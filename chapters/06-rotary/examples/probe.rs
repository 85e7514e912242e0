use rotary::experiments::*;
use rotary::*;
fn main() -> anyhow::Result<()> {
    for (name, r) in [("10k", llama(THETA)?), ("500k", llama(THETA_LLAMA_3)?), ("3.1", llama_3_1()?)] {
        let w = wavelengths(&r);
        println!("{name} {:?} within 8192: {} 131072: {}", [0,1,2,8,16,32,48,62,63].map(|i| w[i]), turning_within(&r, 8192.0), turning_within(&r,131072.0));
        println!("  scores {:?}", [0,1,2,3,5,10,30,100,300,1000,3000,8192,30000,100_000].map(|d| score_at(&r,d).unwrap()));
    }
    println!("{:?}", scaled_pairs()?);
    let p = previous()?;
    println!("prev {} {} {}", on_previous(&p.learned), on_previous(&p.blind), on_previous(&p.constructed));
    println!("blind:"); for (t,row) in p.tokens.iter().zip(p.blind.row_iter()) { let m=row.transpose().column(0).argmax(); println!("{t} -> {} {:.2}", p.tokens[m.0], m.1);}
    println!("constructed row0 {:?}", p.constructed.row(0).iter().map(|x| (x*100.0).round()).collect::<Vec<_>>());
    println!("reverse {} {}", moved_by_reversing(None)?, moved_by_reversing(Some(&Rotary::new(32,THETA,Pairing::Halves)?))?);
    println!("it {:?}", it_animal()?);
    for n in [128,256,512,1024,2048,4096,8192,131072] { println!("{n} {} {} {}", Stored::Bf16.distinct(n), Stored::F16.distinct(n.min(60000)), Stored::F32.distinct(n)); }
    for at in [50, 100,255,256,300,500,1000,2000,3000,4000] { println!("{at}: bf16 {:.3} f16 {:.3} f32 {:.3}", rounded_previous(Stored::Bf16, at)?, rounded_previous(Stored::F16, at)?, rounded_previous(Stored::F32, at)?); }
    for d in [0,1,2,5,10,100,1000] { println!("moved {d} {}", product_moved(d)?); }
    for (m,n) in [(0,0),(7,7),(1,0),(2,1),(2,0),(5,0),(12,7)] { let x=mixed_up(m,n)?; println!("{m} {n} {:.3} {:.3} {:.3}", x.right,x.mixed,x.permuted); }
    println!("{:?}", offset_forgotten(8,4)?);
    for pair in [(1.0f32,0.0f32),(1.0,2.0)] { for (m,n) in [(0,0),(1,0),(2,1),(3,2),(10,9)] {
        println!("{pair:?} {m} {n} {:.3} {:.3} {:.3}", score_of_pair(pair,(turn,m),(turn,n)), score_of_pair(pair,(turn_without_minus,m),(turn_without_minus,n)), score_of_pair(pair,(turn,m),(turn_back,n))); } }
    let l = minilm::models::find("Llama-3-8B")?; println!("{:?}", work(&l, 8192));
    Ok(())
}
