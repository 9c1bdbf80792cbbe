package hopsworksflink.aggregate;

import java.util.List;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.types.DataType;

/** The different values in order, at most so many (the setting), as an array. */
public final class CollectDistinct extends OfValues {
    private static final long serialVersionUID = 1L;

    @Override
    DataType type() {
        return DataTypes.STRING();
    }

    @Override
    void trim(Values values) {
        values.keepFirst((int) values.setting);
    }

    @Override
    public Object getValue(Values values) {
        return AvroArray.text(List.copyOf(values.counts.keySet()));
    }
}
