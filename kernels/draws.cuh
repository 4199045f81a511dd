// Philox4x32-10 (Salmon et al., SC 2011): draw i of a key is lane i % 4 of the block whose counter is i / 4.

DEVICE u32 draw_of(u64 key, u64 element) {
    u64 counter = element / 4;
    u32 c0 = (u32)counter, c1 = (u32)(counter >> 32), c2 = 0, c3 = 0;
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
    for (int round = 0; round < 10; ++round) {
        u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2;
        u32 next0 = (u32)(b >> 32) ^ c1 ^ k0, next2 = (u32)(a >> 32) ^ c3 ^ k1;
        c1 = (u32)b;
        c3 = (u32)a;
        c0 = next0;
        c2 = next2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    u32 lane = (u32)(element & 3);
    u32 word = lane == 0 ? c0 : lane == 1 ? c1 : lane == 2 ? c2 : c3;
    return word >> 8;
}
