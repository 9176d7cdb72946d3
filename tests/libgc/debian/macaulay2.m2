-- Groebner bases, resolutions, determinants, and the language itself, in Macaulay2.
count = value getenv "EBB_WORKLOAD_SIZE"

-- Trees of hash tables, lists and strings
node = depth -> (
    if depth == 0 then {null, null, 1}
    else (
        left := node(depth - 1);
        right := node(depth - 1);
        {left, right, left#2 + right#2}))
weigh = tree -> if tree#0 === null then tree#2 else weigh(tree#0) + weigh(tree#1)
sum' = 1
lasting = node 12
scan(count, i -> sum' = (31 * sum' + weigh node(4 + i % 6)) % 1000003)
print ("trees", sum', weigh lasting)

table' = new MutableHashTable
scan(20 * count, i -> table'#(toString((7919 * i) % 1000003)) = {i, i^20})
print ("table", #table', sum(20 * count, i -> (table'#(toString((7919 * i) % 1000003)))#1 % 97))

-- Algebra
R = ZZ/32003[a..f]
I = ideal(a + b + c + d + e + f, a*b + b*c + c*d + d*e + e*f + f*a,
    a*b*c + b*c*d + c*d*e + d*e*f + e*f*a + f*a*b,
    a*b*c*d + b*c*d*e + c*d*e*f + d*e*f*a + e*f*a*b + f*a*b*c,
    a*b*c*d*e + b*c*d*e*f + c*d*e*f*a + d*e*f*a*b + e*f*a*b*c + f*a*b*c*d,
    a*b*c*d*e*f - 1)
print ("cyclic", numgens source gens gb I, dim I, degree I)

S = QQ[x_0..x_5]
m = genericSymmetricMatrix(S, x_0, 3)
print ("minors", betti res minors(2, m))
setRandomSeed 7
scan(max(1, count // 100), i -> (
    J := ideal apply(4, j -> sum(6, k -> ((i + 3 * j + 5 * k) % 11 - 5) * x_k^2
        + ((i * j + k) % 7) * x_k * x_((k + 1) % 6)));
    print ("resolution", i, toString apply(4, j -> rank (res J)_j), toString degree J)))

M = matrix apply(40, i -> apply(40, j ->
    (i * 7919 + j * 104729) % 1009 + (if i == j then 1 else 0)))
print ("determinant", (det M) % 1000003)
print ("factors", toString factor (2^64 * 3^10 * 1000003 - 1))
print ("polynomial", # terms (product(1..20, i -> x_0 + i * x_1 + x_2)))
