package hopsworksflink.aggregate;

/** How pairs of numbers vary together: number, means, and sums of squares and products of the differences from them. */
public class Pairs {
    public long count;
    public double meanX;
    public double meanY;
    public double squaresX;
    public double squaresY;
    public double products;
    /** Whether a number was too large to be squared, so that there is no result. */
    public boolean beyond;

    void add(double x, double y) {
        count++;
        double dx = x - meanX;
        double dy = y - meanY;
        meanX += dx / count;
        meanY += dy / count;
        squaresX += dx * (x - meanX);
        squaresY += dy * (y - meanY);
        products += dx * (y - meanY);
    }

    /** Chan et al., Updating formulae and a pairwise algorithm for computing sample variances (1979). */
    void add(Pairs other) {
        beyond |= other.beyond;
        if (other.count == 0) {
            return;
        }
        long all = count + other.count;
        double dx = other.meanX - meanX;
        double dy = other.meanY - meanY;
        double share = (double) count / all * other.count;
        squaresX += other.squaresX + dx * dx * share;
        squaresY += other.squaresY + dy * dy * share;
        products += other.products + dx * dy * share;
        meanX += dx * ((double) other.count / all);
        meanY += dy * ((double) other.count / all);
        count = all;
    }
}
