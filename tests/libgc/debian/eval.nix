# Sets, lists, strings, folds and fixed points, lazily, in the language of Nix.
{ size }:
let
  inherit (builtins) genList foldl' length map filter attrNames listToAttrs toString
    concatStringsSep hashString sort elemAt stringLength attrValues mapAttrs substring
    fromJSON toJSON;

  build = depth:
    if depth == 0 then { left = null; right = null; weight = 1; }
    else rec {
      left = build (depth - 1);
      right = build (depth - 1);
      weight = left.weight + right.weight;
    };

  modulo = a: b: a - b * (a / b);

  grow = foldl' (sum: i: modulo (sum * 31 + (build (5 + modulo i 5)).weight) 1000003) 1
    (genList (i: i) size);

  packages = listToAttrs (genList (i: {
    name = "package-${toString i}";
    value = {
      version = "${toString (modulo i 7)}.${toString (modulo i 11)}";
      dependencies = map (j: "package-${toString (modulo (i * j) (20 * size))}") [ 2 3 5 7 ];
      hash = hashString "sha256" (toString i);
    };
  }) (20 * size));

  closure = names: depth:
    if depth == 0 then names
    else closure (attrNames (listToAttrs (builtins.concatMap
      (name: map (n: { name = n; value = null; }) packages.${name}.dependencies) names)))
      (depth - 1);

  overlays = foldl' (previous: extension: previous // extension previous) { x0 = 1; }
    (genList (i: previous: { "x${toString (i + 1)}" = previous."x${toString i}" + i; })
      (size / 2));

  fix = f: let x = f x; in x;
  fibonacci = fix (self: genList (i:
    if i < 2 then i else modulo (elemAt self (i - 1) + elemAt self (i - 2)) 1000003) (2 * size));

  texts = map (i: concatStringsSep "," (genList (j: toString (i * j)) 50)) (genList (i: i) size);
in {
  inherit grow;
  versions = length (filter (p: p.version == "3.5") (attrValues packages));
  hashes = foldl' (sum: p: hashString "md5" (sum + p.hash)) "" (attrValues packages);
  reached = length (closure [ "package-1" "package-11" ] 6);
  overlaid = overlays."x${toString (size / 2)}";
  last = elemAt fibonacci (2 * size - 1);
  text = foldl' (sum: t: sum + stringLength t) 0 texts;
  sorted = hashString "sha1" (concatStringsSep "" (sort (a: b: a < b) texts));
  json = stringLength (toJSON (fromJSON (toJSON (mapAttrs (_: p: p.version) packages))));
}
