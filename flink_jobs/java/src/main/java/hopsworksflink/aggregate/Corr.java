package hopsworksflink.aggregate;

/** Pearson's correlation; null where one of the numbers is always the same. */
public final class Corr extends OfPairs {
    private static final long serialVersionUID = 1L;

    @Override
    Double result(Pairs pairs) {
        if (pairs.squaresX == 0 || pairs.squaresY == 0) {
            return null;
        }
        double found = pairs.products / Math.sqrt(pairs.squaresX) / Math.sqrt(pairs.squaresY);
        return Math.max(-1, Math.min(1, found));
    }
}
