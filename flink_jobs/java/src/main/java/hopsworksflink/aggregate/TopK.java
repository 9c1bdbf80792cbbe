package hopsworksflink.aggregate;

import java.util.Map;
import java.util.stream.Collectors;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.types.DataType;

/** The most frequent values as an array, at most so many (the setting), the most frequent one first; of equals, the least. */
public final class TopK extends Frequent {
    private static final long serialVersionUID = 1L;

    @Override
    DataType type() {
        return DataTypes.STRING();
    }

    @Override
    public Object getValue(Values values) {
        // Sorting keeps the order of equals.
        return AvroArray.text(values.counts.entrySet().stream()
                .sorted(Map.Entry.<Object, Long>comparingByValue().reversed())
                .limit((long) values.setting)
                .map(Map.Entry::getKey)
                .collect(Collectors.toList()));
    }
}
